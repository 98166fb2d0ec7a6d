-- Every employee with how many customers they have, gained and lost; also those of whom nothing but relations is known.
SELECT
    p.corpid,  -- id | The corporation
    p.userid AS follow_userid,  -- id | The employee's id in lower case
    e.name AS employee_name,  -- text | The employee's name; NULL: not read yet, or not told to this app
    e.main_department,  -- integer | Main department
    d.name AS main_department_name,  -- text | Its name
    CASE WHEN e.left_at IS NULL AND e.gone_at IS NULL THEN 1 ELSE 0
         END AS present,  -- integer | 1: is there as far as is known; 0: has left, or is out of the app's range
    COALESCE(r.standing, 0) AS standing_customers,  -- integer | Customers whom the employee has now
    COALESCE(r.doubtful, 0) AS doubtful_customers,  -- integer | Of these, those that the platform does not list
    COALESCE(t.tagged, 0) AS tagged_customers,  -- integer | Of the standing ones, customers with at least one tag of this employee
    COALESCE(r.added_30_days, 0) AS added_30_days,  -- integer | Relations that began in the last 30 times 24 hours
    COALESCE(r.lost_30_days, 0) AS lost_30_days,  -- integer | Relations that ended in that time and stand no more
    COALESCE(r.lost_by_customer_30_days, 0) AS lost_by_customer_30_days,  -- integer | Of these, ended by the customer
    COALESCE(r.ended, 0) AS lost_customers  -- integer | All relations that have ended
FROM (
    SELECT e.corpid, e.userid FROM employee AS e
    UNION
    SELECT f.corpid, f.follow_userid FROM customer_follow AS f
) AS p
LEFT JOIN employee AS e ON e.corpid = p.corpid AND e.userid = p.userid
LEFT JOIN department AS d ON d.corpid = e.corpid AND d.department_id = e.main_department
LEFT JOIN (
    SELECT f.corpid, f.follow_userid,
           COUNT(CASE WHEN f.lost_at IS NULL THEN 1 END) AS standing,
           COUNT(CASE WHEN f.lost_at IS NULL AND f.unseen_since IS NOT NULL THEN 1 END) AS doubtful,
           COUNT(CASE WHEN MOMENT(f.createtime) >= DAYS_AGO(30) THEN 1 END) AS added_30_days,
           COUNT(CASE WHEN f.lost_at >= DAYS_AGO(30) THEN 1 END) AS lost_30_days,
           COUNT(CASE WHEN f.lost_at >= DAYS_AGO(30) AND f.lost_by = 'customer' THEN 1 END) AS lost_by_customer_30_days,
           COUNT(f.lost_at) AS ended
    FROM customer_follow AS f
    GROUP BY f.corpid, f.follow_userid
) AS r ON r.corpid = p.corpid AND r.follow_userid = p.userid
LEFT JOIN (
    SELECT t.corpid, t.follow_userid, COUNT(DISTINCT t.userid) AS tagged
    FROM v_customer_tag AS t
    GROUP BY t.corpid, t.follow_userid
) AS t ON t.corpid = p.corpid AND t.follow_userid = p.userid
