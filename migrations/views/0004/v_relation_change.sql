-- Every beginning and end of a relation, once: what v_daily_customer_flow counts.
WITH told AS (
    SELECT e.corpid, e.object_id AS userid, COALESCE(a.new_userid, e.userid) AS follow_userid, e.happened_at,
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
    WHERE e.event = 'change_external_contact' AND e.outcome = 'applied'
      AND e."change" IN ('add_external_contact', 'add_half_external_contact', 'del_external_contact', 'del_follow_user')
      AND e.object_id IS NOT NULL AND e.userid IS NOT NULL
    UNION
    -- Beginnings whose event never came.
    SELECT f.corpid, f.userid, COALESCE(a.new_userid, f.follow_userid), MOMENT(f.createtime), 'add', NULL
    FROM customer_follow AS f
    LEFT JOIN v_employee_alias AS a ON a.corpid = f.corpid AND a.userid = f.follow_userid
    WHERE f.createtime > 0
    UNION
    SELECT h.corpid, h.userid, COALESCE(a.new_userid, h.follow_userid), MOMENT(h.createtime), 'add', NULL
    FROM customer_follow_history AS h
    LEFT JOIN v_employee_alias AS a ON a.corpid = h.corpid AND a.userid = h.follow_userid
    WHERE h.createtime > 0
    UNION
    -- Ends that no event told.
    SELECT f.corpid, f.userid, COALESCE(a.new_userid, f.follow_userid), f.lost_at, 'loss', f.lost_by
    FROM customer_follow AS f
    LEFT JOIN v_employee_alias AS a ON a.corpid = f.corpid AND a.userid = f.follow_userid
    WHERE f.lost_at IS NOT NULL
    UNION
    SELECT h.corpid, h.userid, COALESCE(a.new_userid, h.follow_userid), h.lost_at, 'loss', h.lost_by
    FROM customer_follow_history AS h
    LEFT JOIN v_employee_alias AS a ON a.corpid = h.corpid AND a.userid = h.follow_userid
    WHERE h.lost_at IS NOT NULL
),
placed AS (
    -- In one second: the loss after the add, and the customer's before others, so that it is the one that counts.
    SELECT t.corpid, t.userid, t.follow_userid, t.happened_at, t.direction, t.lost_by,
           CASE WHEN t.direction = 'add' THEN 0 WHEN t.lost_by = 'customer' THEN 1 ELSE 2 END AS place
    FROM told AS t
    WHERE t.happened_at IS NOT NULL
),
counted AS (
    SELECT p.corpid, p.userid, p.follow_userid, p.happened_at, p.direction, p.lost_by, p.place,
           COUNT(CASE WHEN p.direction = 'add' THEN 1 END) OVER (
               PARTITION BY p.corpid, p.userid, p.follow_userid ORDER BY p.happened_at, p.place, p.lost_by
           ) AS adds
    FROM placed AS p
),
ordered AS (
    -- That the employee left counts only where nothing else ended the relation, before or after.
    SELECT n.corpid, n.userid, n.follow_userid, n.happened_at, n.direction, n.lost_by,
           LAG(n.direction) OVER (
               PARTITION BY n.corpid, n.userid, n.follow_userid
               ORDER BY n.adds, CASE WHEN n.lost_by = 'left' THEN 1 ELSE 0 END, n.happened_at, n.place, n.lost_by
           ) AS direction_before,
           MAX(CASE WHEN n.direction = 'add' THEN n.happened_at END) OVER (
               PARTITION BY n.corpid, n.userid, n.follow_userid
           ) AS last_add_at
    FROM counted AS n
)
SELECT
    o.corpid,  -- id | The corporation
    o.userid AS external_userid,  -- id | The platform's external_userid
    o.userid,  -- id | The same, under the name that the tables have for it
    o.follow_userid,  -- id | The employee, under the id of today
    o.happened_at,  -- instant | When the relation began or ended
    CHINA_DAY(o.happened_at) AS day,  -- day | The day of that in China (UTC + 8 h)
    o.direction,  -- text | add or loss
    o.lost_by  -- text | Who ended it: employee, customer, transfer, left, reconcile; NULL for an add
FROM ordered AS o
LEFT JOIN customer_follow AS f
  ON f.corpid = o.corpid AND f.userid = o.userid AND f.follow_userid = o.follow_userid
WHERE (o.direction_before IS NULL OR o.direction_before <> o.direction)
  -- A last loss that the platform has refuted by listing the relation ever since.
  AND NOT (
      o.direction = 'loss' AND f.corpid IS NOT NULL AND f.lost_at IS NULL
      AND (o.last_add_at IS NULL OR o.last_add_at <= o.happened_at)
  )
