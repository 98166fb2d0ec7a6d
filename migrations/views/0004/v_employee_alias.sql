-- Ids that employees had before, each with the one that the same person has now, however often it changed.
WITH RECURSIVE valid AS (
    SELECT a.corpid, a.userid, a.new_userid, a.happened_at
    FROM employee_alias AS a
    -- An id that somebody else got later is no old id of the one who had it before.
    WHERE NOT EXISTS (
        SELECT 1 FROM employee_alias AS g
        WHERE g.corpid = a.corpid AND g.new_userid = a.userid AND g.happened_at > a.happened_at
    )
),
chain (corpid, userid, new_userid, happened_at, steps) AS (
    SELECT v.corpid, v.userid, v.new_userid, v.happened_at, 1
    FROM valid AS v
    UNION ALL
    SELECT c.corpid, c.userid, v.new_userid, v.happened_at, c.steps + 1
    FROM chain AS c
    JOIN valid AS v ON v.corpid = c.corpid AND v.userid = c.new_userid
    -- Two ids that changed places in one second would lead nowhere.
    WHERE c.steps < 16
),
ranked AS (
    SELECT c.corpid, c.userid, c.new_userid, c.happened_at, c.steps,
           ROW_NUMBER() OVER (PARTITION BY c.corpid, c.userid ORDER BY c.steps DESC) AS place
    FROM chain AS c
)
SELECT
    r.corpid,  -- id | The corporation
    r.userid,  -- id | The old id, in lower case
    r.new_userid,  -- id | The id that the same person has now, in lower case
    r.happened_at,  -- instant | CreateTime of the event that told the latest change
    r.steps  -- integer | How often the id changed since the old one
FROM ranked AS r
WHERE r.place = 1 AND r.new_userid <> r.userid
