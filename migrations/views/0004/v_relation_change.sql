-- Every beginning and end of a relation, once: what v_daily_customer_flow counts.
WITH told AS (
    SELECT e.corpid, e.object_id AS userid, COALESCE(a.new_userid, e.userid) AS follow_userid, e.happened_at,
           e.recorded_at AS known_at,
           CASE WHEN e."change" IN ('add_external_contact', 'add_half_external_contact') THEN 'add'
                ELSE 'loss' END AS direction,
           CASE WHEN e."change" = 'del_follow_user' THEN 'customer'
                WHEN e."change" <> 'del_external_contact' THEN NULL
                WHEN e.detail = 'DELETE_BY_TRANSFER' THEN 'transfer'
                -- Events that an earlier release wrote down, with a blank between the two or without.
                WHEN e.detail IS NULL AND (
                    AS_TEXT(e.leaves) LIKE '%"Source","DELETE_BY_TRANSFER"%'
                    OR AS_TEXT(e.leaves) LIKE '%"Source", "DELETE_BY_TRANSFER"%'
                ) THEN 'transfer'
                ELSE 'employee' END AS lost_by
    FROM contact_event AS e
    LEFT JOIN v_employee_alias AS a ON a.corpid = e.corpid AND a.userid = e.userid
      AND e.happened_at >= a.valid_from AND e.happened_at < a.valid_to
    WHERE e.event = 'change_external_contact' AND e.outcome = 'applied'
      AND e."change" IN ('add_external_contact', 'add_half_external_contact', 'del_external_contact', 'del_follow_user')
      AND e.object_id IS NOT NULL AND e.userid IS NOT NULL
    UNION ALL
    -- Beginnings whose event never came.
    SELECT f.corpid, f.userid, COALESCE(a.new_userid, f.follow_userid), MOMENT(f.createtime), FOREVER, 'add', NULL
    FROM customer_follow AS f
    LEFT JOIN v_employee_alias AS a ON a.corpid = f.corpid AND a.userid = f.follow_userid
      AND a.valid_to = FOREVER
    UNION ALL
    SELECT h.corpid, h.userid, COALESCE(a.new_userid, h.follow_userid), MOMENT(h.createtime), h.valid_from, 'add', NULL
    FROM customer_follow_history AS h
    LEFT JOIN v_employee_alias AS a ON a.corpid = h.corpid AND a.userid = h.follow_userid
      AND COALESCE(h.happened_at, h.valid_from) >= a.valid_from AND COALESCE(h.happened_at, h.valid_from) < a.valid_to
    UNION ALL
    -- Ends that no event told.
    SELECT f.corpid, f.userid, COALESCE(a.new_userid, f.follow_userid), f.lost_at, FOREVER, 'loss', f.lost_by
    FROM customer_follow AS f
    LEFT JOIN v_employee_alias AS a ON a.corpid = f.corpid AND a.userid = f.follow_userid
      AND a.valid_to = FOREVER
    UNION ALL
    SELECT h.corpid, h.userid, COALESCE(a.new_userid, h.follow_userid), h.lost_at, h.valid_from, 'loss', h.lost_by
    FROM customer_follow_history AS h
    LEFT JOIN v_employee_alias AS a ON a.corpid = h.corpid AND a.userid = h.follow_userid
      AND COALESCE(h.happened_at, h.valid_from) >= a.valid_from AND COALESCE(h.happened_at, h.valid_from) < a.valid_to
    UNION ALL
    -- Ends after which the relation stood again as far as this system knew, and since when it did.
    SELECT h.corpid, h.userid, COALESCE(a.new_userid, h.follow_userid), h.lost_at,
           CASE WHEN n.happened_at > n.valid_from THEN n.happened_at ELSE n.valid_from END, 'stood', NULL
    FROM customer_follow_history AS h
    JOIN customer_follow_history AS n
      ON n.corpid = h.corpid AND n.userid = h.userid AND n.follow_userid = h.follow_userid AND n.valid_from = h.valid_to
    LEFT JOIN v_employee_alias AS a ON a.corpid = h.corpid AND a.userid = h.follow_userid
      AND COALESCE(h.happened_at, h.valid_from) >= a.valid_from AND COALESCE(h.happened_at, h.valid_from) < a.valid_to
    WHERE h.lost_at IS NOT NULL AND n.lost_at IS NULL
),
placed AS (
    -- In one second: the loss after the add, and the customer's before others, so that it is the one that counts.
    SELECT t.corpid, t.userid, t.follow_userid, t.happened_at, t.direction, t.lost_by, MIN(t.known_at) AS known_at,
           CASE WHEN t.direction = 'add' THEN 0 WHEN t.direction = 'stood' THEN 3
                WHEN t.lost_by = 'customer' THEN 1 ELSE 2 END AS place
    FROM told AS t
    WHERE t.happened_at IS NOT NULL
    GROUP BY t.corpid, t.userid, t.follow_userid, t.happened_at, t.direction, t.lost_by
),
counted AS (
    SELECT p.corpid, p.userid, p.follow_userid, p.happened_at, p.direction, p.lost_by, p.known_at, p.place,
           COUNT(CASE WHEN p.direction = 'add' THEN 1 END) OVER (
               PARTITION BY p.corpid, p.userid, p.follow_userid ORDER BY p.happened_at, p.place, p.lost_by
           ) AS adds,
           MIN(CASE WHEN p.direction = 'add' THEN p.happened_at END) OVER (
               PARTITION BY p.corpid, p.userid, p.follow_userid ORDER BY p.happened_at, p.place, p.lost_by
               ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING
           ) AS next_add_at
    FROM placed AS p
),
judged AS (
    -- A listing that refuted an end refuted those before it as well, unless the relation had begun anew by then.
    SELECT n.corpid, n.userid, n.follow_userid, n.happened_at, n.direction, n.lost_by, n.known_at, n.place, n.adds,
           n.next_add_at,
           COUNT(CASE WHEN n.direction = 'stood' AND (n.next_add_at IS NULL OR n.next_add_at > n.known_at) THEN 1 END)
           OVER (
               PARTITION BY n.corpid, n.userid, n.follow_userid, n.adds ORDER BY n.happened_at, n.place, n.lost_by
               ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
           ) AS refuted
    FROM counted AS n
),
ordered AS (
    -- That the employee left counts only where nothing else ended the relation, before or after.
    SELECT j.corpid, j.userid, j.follow_userid, j.happened_at, j.direction, j.lost_by, j.known_at,
           LAG(j.direction) OVER (
               PARTITION BY j.corpid, j.userid, j.follow_userid
               ORDER BY j.adds, CASE WHEN j.lost_by = 'left' THEN 1 ELSE 0 END, j.happened_at, j.place, j.lost_by
           ) AS direction_before
    FROM judged AS j
    LEFT JOIN customer_follow AS f
      ON f.corpid = j.corpid AND f.userid = j.userid AND f.follow_userid = j.follow_userid
    WHERE CASE
        WHEN j.direction = 'add' THEN 1
        WHEN j.direction = 'stood' OR j.refuted > 0 THEN 0
        -- What stands has not ended since it last began.
        WHEN f.corpid IS NOT NULL AND f.lost_at IS NULL AND j.next_add_at IS NULL THEN 0
        -- An end that became known when a listing, more than a day after it, had refuted it already.
        WHEN j.lost_by <> 'customer' AND j.happened_at < DAY_BEFORE(f.fetched_at)
             AND MOMENT(f.createtime) <= j.happened_at
             AND (j.next_add_at IS NULL OR j.next_add_at > f.fetched_at) THEN 0
        ELSE 1 END = 1
)
SELECT
    o.corpid,  -- id | The corporation
    o.userid AS external_userid,  -- id | The platform's external_userid
    o.userid,  -- id | The same, under the name that the tables have for it
    o.follow_userid,  -- id | The employee, under the id of today
    o.happened_at,  -- instant | When the relation began or ended
    CHINA_DAY(o.happened_at) AS day,  -- day | The day of that in China (UTC + 8 h)
    o.direction,  -- text | add or loss
    o.lost_by,  -- text | Who ended it: employee, customer, transfer, left, reconcile; NULL for an add
    CASE WHEN o.known_at < FOREVER THEN o.known_at
         END AS known_at  -- instant | When this system came to know it; NULL: not known
FROM ordered AS o
WHERE o.direction_before IS NULL OR o.direction_before <> o.direction
