-- Customer groups with their owners and how many people are in them.
SELECT
    g.corpid,  -- id | The corporation
    g.chat_id,  -- id | The platform's id of the group
    g.name,  -- text | Name; empty for a group without one
    g.owner,  -- id | The employee who owns it, in lower case
    e.name AS owner_name,  -- text | The owner's name; NULL: not read yet, or not told to this app
    g.notice,  -- text | Notice of the group
    MOMENT(g.create_time) AS created_at,  -- instant | When the platform says it was made
    CASE WHEN g.dismissed_at IS NULL AND g.gone_at IS NULL THEN 1 ELSE 0
         END AS present,  -- integer | 1: is there; 0: dismissed, or not shown by the platform any more
    g.dismissed_at,  -- instant | Since when the group has been dismissed; NULL: is there
    g.gone_at,  -- instant | Since when the platform does not show it: dismissed, or owner out of range
    COALESCE(m.members, 0) AS members,  -- integer | Everybody in it, as last read
    COALESCE(m.employees, 0) AS employees,  -- integer | Of these, employees
    COALESCE(m.outsiders, 0) AS outsiders,  -- integer | Of these, external contacts
    COALESCE(m.customers, 0) AS customers,  -- integer | Of the external contacts, those whom some employee has
    COALESCE(v.lost_events, 0) AS lost_events,  -- integer | Gaps in the chain of versions: events that never came
    g.first_seen_at,  -- instant | When this system first heard of the group
    g.fetched_at  -- instant | When the API call that brought these columns began; NULL: not read yet
FROM group_chat AS g
LEFT JOIN employee AS e ON e.corpid = g.corpid AND e.userid = g.owner
LEFT JOIN (
    SELECT i.corpid, i.chat_id, COUNT(*) AS members, COUNT(CASE WHEN i.type = 1 THEN 1 END) AS employees,
           COUNT(CASE WHEN i.type = 2 THEN 1 END) AS outsiders, COUNT(s.userid) AS customers
    FROM group_chat_member AS i
    LEFT JOIN (
        SELECT DISTINCT f.corpid, f.userid FROM customer_follow AS f WHERE f.lost_at IS NULL
    ) AS s ON s.corpid = i.corpid AND s.userid = i.userid AND i.type = 2
    GROUP BY i.corpid, i.chat_id
) AS m ON m.corpid = g.corpid AND m.chat_id = g.chat_id
LEFT JOIN (
    -- Versions that no event led to; one of them is where the chain starts.
    SELECT n.corpid, n.chat_id, COUNT(DISTINCT n.last_mem_ver) - 1 AS lost_events
    FROM group_chat_version AS n
    LEFT JOIN group_chat_version AS b
      ON b.corpid = n.corpid AND b.chat_id = n.chat_id AND b.cur_mem_ver = n.last_mem_ver
    WHERE b.corpid IS NULL
    GROUP BY n.corpid, n.chat_id
) AS v ON v.corpid = g.corpid AND v.chat_id = g.chat_id
