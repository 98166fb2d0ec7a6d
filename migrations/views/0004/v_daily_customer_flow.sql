-- How many relations began and ended per day and employee; a change counts once, however many events told it.
SELECT
    c.corpid,  -- id | The corporation
    c.day,  -- day | The day in China (UTC + 8 h), from midnight to midnight
    c.follow_userid,  -- id | The employee, under the id of today
    COUNT(CASE WHEN c.direction = 'add' THEN 1 END) AS adds,  -- integer | Relations that began, returns included
    COUNT(CASE WHEN c.lost_by = 'employee' THEN 1 END) AS losses_by_employee,  -- integer | Ended by the employee
    COUNT(CASE WHEN c.lost_by = 'customer' THEN 1 END) AS losses_by_customer,  -- integer | Ended by the customer
    COUNT(CASE WHEN c.lost_by = 'transfer' THEN 1 END) AS losses_by_transfer,  -- integer | Handed to another employee
    COUNT(CASE WHEN c.direction = 'loss' AND COALESCE(c.lost_by, '') NOT IN ('employee', 'customer', 'transfer')
          THEN 1 END) AS losses_other,  -- integer | Ended otherwise: the employee left, or reconciliation found it gone
    COUNT(CASE WHEN c.direction = 'add' THEN 1 END)
        - COUNT(CASE WHEN c.direction = 'loss' THEN 1 END) AS net  -- integer | Begun less ended
FROM v_relation_change AS c
GROUP BY c.corpid, c.day, c.follow_userid
