-- Ids that employees had before, each with the one that the same person has now, however often it changed.
WITH RECURSIVE held AS (
    SELECT a.corpid, a.userid, a.new_userid, a.happened_at,
           COALESCE(
               LAG(a.given_at) OVER (PARTITION BY a.corpid, a.userid ORDER BY a.happened_at), MOMENT(1)
           ) AS valid_from,
           COALESCE(a.given_at, FOREVER) AS valid_to
    FROM employee_alias AS a
),
chain (corpid, userid, new_userid, happened_at, valid_from, valid_to, steps) AS (
    SELECT h.corpid, h.userid, h.new_userid, h.happened_at, h.valid_from, h.valid_to, 1
    FROM held AS h
    UNION ALL
    SELECT c.corpid, c.userid, h.new_userid, h.happened_at, c.valid_from, c.valid_to, c.steps + 1
    FROM chain AS c
    JOIN held AS h ON h.corpid = c.corpid AND h.userid = c.new_userid
      AND c.happened_at >= h.valid_from AND c.happened_at < h.valid_to
    -- Two ids that changed places in one second would lead nowhere.
    WHERE c.steps < 16
),
ranked AS (
    SELECT c.corpid, c.userid, c.new_userid, c.happened_at, c.valid_from, c.valid_to, c.steps,
           ROW_NUMBER() OVER (PARTITION BY c.corpid, c.userid, c.valid_from ORDER BY c.steps DESC) AS place
    FROM chain AS c
)
SELECT
    r.corpid,  -- id | The corporation
    r.userid,  -- id | The old id, in lower case
    r.new_userid,  -- id | The id that the same person has now, in lower case
    r.happened_at,  -- instant | CreateTime of the event that told the latest change
    r.valid_from,  -- instant | What named the old id from then on meant this person; 1970: whenever
    r.valid_to,  -- instant | Until before then, when somebody else got the id; the year 9999: nobody has
    r.steps  -- integer | How often the id changed since the old one
FROM ranked AS r
WHERE r.place = 1 AND r.new_userid <> r.userid
