-- How current the tables are, one row per corporation. Ages are in whole seconds, by the database's clock.
SELECT
    c.corpid,  -- id | The corporation
    c.name,  -- text | Name from the configuration
    c.newest_event_at,  -- instant | CreateTime of the newest event that has been applied; NULL: none yet
    SECONDS_SINCE(c.newest_event_at) AS newest_event_seconds,  -- integer | How long ago that was
    c.newest_received_at,  -- instant | When the newest callback came in that has been applied
    c.waiting_reads,  -- integer | Objects that events or employees named and that are still to be read
    c.oldest_wait_at,  -- instant | When the longest waiting of them was last asked for; NULL: nothing waits
    SECONDS_SINCE(c.oldest_wait_at) AS oldest_wait_seconds,  -- integer | How long ago that was
    c.rechecks,  -- integer | Objects that have been read and will be looked at once more
    c.customers_never_read,  -- integer | Customers of whom only events tell, and who are not gone
    c.relations_never_read,  -- integer | Standing relations that no answer has listed yet
    c.employees_never_read,  -- integer | Employees of whom only events tell, and who have not left
    c.groups_never_read,  -- integer | Customer groups of which only events tell, and which are not dismissed
    c.oldest_snapshot_at,  -- instant | The oldest fetched_at of customers who are not gone
    SECONDS_SINCE(c.oldest_snapshot_at) AS oldest_snapshot_seconds,  -- integer | How long ago that was
    c.doubtful_relations,  -- integer | Standing relations that the platform does not list
    c.dead_letters,  -- integer | Deliveries that could not be applied and still wait for somebody
    c.reconciled_at  -- instant | When the last full reconciliation ended
FROM (
    SELECT
        o.corpid, o.name, o.reconciled_at,
        (SELECT MAX(e.happened_at) FROM contact_event AS e WHERE e.corpid = o.corpid) AS newest_event_at,
        (SELECT MAX(e.received_at) FROM contact_event AS e WHERE e.corpid = o.corpid) AS newest_received_at,
        (SELECT COUNT(*) FROM pending_read AS p WHERE p.corpid = o.corpid AND p.stage <> 'recheck') AS waiting_reads,
        (SELECT MIN(p.wanted_at) FROM pending_read AS p
         WHERE p.corpid = o.corpid AND p.stage <> 'recheck') AS oldest_wait_at,
        (SELECT COUNT(*) FROM pending_read AS p WHERE p.corpid = o.corpid AND p.stage = 'recheck') AS rechecks,
        (SELECT COUNT(*) FROM customer AS k
         WHERE k.corpid = o.corpid AND k.fetched_at IS NULL AND k.gone_at IS NULL) AS customers_never_read,
        (SELECT COUNT(*) FROM customer_follow AS f
         WHERE f.corpid = o.corpid AND f.fetched_at IS NULL AND f.lost_at IS NULL) AS relations_never_read,
        (SELECT COUNT(*) FROM employee AS m
         WHERE m.corpid = o.corpid AND m.fetched_at IS NULL
           AND m.left_at IS NULL AND m.gone_at IS NULL) AS employees_never_read,
        (SELECT COUNT(*) FROM group_chat AS g
         WHERE g.corpid = o.corpid AND g.fetched_at IS NULL
           AND g.dismissed_at IS NULL AND g.gone_at IS NULL) AS groups_never_read,
        (SELECT MIN(k.fetched_at) FROM customer AS k
         WHERE k.corpid = o.corpid AND k.gone_at IS NULL) AS oldest_snapshot_at,
        (SELECT COUNT(*) FROM customer_follow AS f
         WHERE f.corpid = o.corpid AND f.unseen_since IS NOT NULL AND f.lost_at IS NULL) AS doubtful_relations,
        (SELECT COUNT(*) FROM dead_letter AS d
         WHERE d.corpid = o.corpid AND d.resolved_at IS NULL) AS dead_letters
    FROM corp AS o
) AS c
