-- How current the tables are, one row per corporation. Ages are in whole seconds, by the database's clock.
SELECT
    c.corpid,  -- id | The corporation
    c.name,  -- text | Name from the configuration
    e.newest_at AS newest_event_at,  -- instant | CreateTime of the newest event that has been applied; NULL: none yet
    SECONDS_SINCE(e.newest_at) AS newest_event_seconds,  -- integer | How long ago that was
    e.received_at AS newest_received_at,  -- instant | When the newest callback came in that has been applied
    COALESCE(p.waiting, 0) AS waiting_reads,  -- integer | Objects that events or employees named and that are still to be read
    p.oldest_at AS oldest_wait_at,  -- instant | When the longest waiting of them was last asked for; NULL: nothing waits
    SECONDS_SINCE(p.oldest_at) AS oldest_wait_seconds,  -- integer | How long ago that was
    COALESCE(p.rechecks, 0) AS rechecks,  -- integer | Objects that will be looked at once more later: after a transfer, or as the app may not read them
    COALESCE(k.never_read, 0) AS customers_never_read,  -- integer | Customers of whom only events tell, and who are not gone
    COALESCE(f.never_read, 0) AS relations_never_read,  -- integer | Standing relations that no answer has listed yet
    COALESCE(m.never_read, 0) AS employees_never_read,  -- integer | Employees of whom only events tell, and who have not left
    COALESCE(g.never_read, 0) AS groups_never_read,  -- integer | Customer groups of which only events tell, and which are not dismissed
    k.oldest_at AS oldest_snapshot_at,  -- instant | The oldest fetched_at of customers who are not gone
    SECONDS_SINCE(k.oldest_at) AS oldest_snapshot_seconds,  -- integer | How long ago that was
    COALESCE(f.doubtful, 0) AS doubtful_relations,  -- integer | Standing relations that the platform does not list
    COALESCE(d.dead, 0) AS dead_letters,  -- integer | Deliveries that could not be applied and still wait for somebody
    c.reconciled_at  -- instant | When the last full reconciliation ended
FROM corp AS c
-- Each table is gone through once; of the ledger there is no index by time, which every event would pay for.
LEFT JOIN (
    SELECT e.corpid, MAX(e.happened_at) AS newest_at, MAX(e.received_at) AS received_at
    FROM contact_event AS e
    GROUP BY e.corpid
) AS e ON e.corpid = c.corpid
LEFT JOIN (
    SELECT p.corpid, COUNT(CASE WHEN p.stage <> 'recheck' THEN 1 END) AS waiting,
           MIN(CASE WHEN p.stage <> 'recheck' THEN p.wanted_at END) AS oldest_at,
           COUNT(CASE WHEN p.stage = 'recheck' THEN 1 END) AS rechecks
    FROM pending_read AS p
    GROUP BY p.corpid
) AS p ON p.corpid = c.corpid
LEFT JOIN (
    SELECT k.corpid, COUNT(CASE WHEN k.fetched_at IS NULL THEN 1 END) AS never_read, MIN(k.fetched_at) AS oldest_at
    FROM customer AS k
    WHERE k.gone_at IS NULL
    GROUP BY k.corpid
) AS k ON k.corpid = c.corpid
LEFT JOIN (
    SELECT f.corpid, COUNT(CASE WHEN f.fetched_at IS NULL THEN 1 END) AS never_read, COUNT(f.unseen_since) AS doubtful
    FROM customer_follow AS f
    WHERE f.lost_at IS NULL
    GROUP BY f.corpid
) AS f ON f.corpid = c.corpid
LEFT JOIN (
    SELECT m.corpid, COUNT(*) AS never_read
    FROM employee AS m
    WHERE m.fetched_at IS NULL AND m.left_at IS NULL AND m.gone_at IS NULL
    GROUP BY m.corpid
) AS m ON m.corpid = c.corpid
LEFT JOIN (
    SELECT g.corpid, COUNT(*) AS never_read
    FROM group_chat AS g
    WHERE g.fetched_at IS NULL AND g.dismissed_at IS NULL AND g.gone_at IS NULL
    GROUP BY g.corpid
) AS g ON g.corpid = c.corpid
LEFT JOIN (
    SELECT d.corpid, COUNT(*) AS dead
    FROM dead_letter AS d
    WHERE d.resolved_at IS NULL
    GROUP BY d.corpid
) AS d ON d.corpid = c.corpid
