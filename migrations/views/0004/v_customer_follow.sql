-- Which employee has or had which customer, with both names and what the employee noted; phone numbers are masked.
SELECT
    f.corpid,  -- id | The corporation
    f.userid AS external_userid,  -- id | The platform's external_userid
    f.userid,  -- id | The same, under the name that the tables have for it
    f.follow_userid,  -- id | The employee who has the customer, in lower case
    c.name AS customer_name,  -- text | The customer's name
    e.name AS employee_name,  -- text | The employee's name; NULL: not read yet, or not told to this app
    CASE WHEN f.lost_at IS NULL THEN 1 ELSE 0
         END AS standing,  -- integer | 1: the employee has the customer now; 0: the relation has ended
    f.lost_at,  -- instant | Since when the relation has ended; NULL: it stands
    f.lost_by,  -- text | Who ended it: employee, customer, transfer, left, reconcile
    MOMENT(f.createtime) AS added_at,  -- instant | When the platform says the relation began
    f.createtime,  -- integer | The same as the platform says it (Unix seconds)
    f.remark,  -- text | The employee's name for the customer
    f.description,  -- text | The employee's note
    f.remark_corp_name,  -- text | Company in the employee's remark, WeChat users only
    MASKED_LIST(f.remark_mobiles) AS remark_mobiles,  -- text | Phone numbers in the remark, masked, with commas
    f.add_way,  -- integer | How the customer was added, the platform's number (document 92114)
    f.state,  -- text | Channel value of the contact-me code or acquisition link
    COALESCE(o.new_userid, f.oper_userid) AS oper_userid,  -- id | Who started it: employee (id of today), customer, colleague or admin
    f.wechat_channels,  -- JSON | WeChat Channels source, only for add_way 10
    f.unseen_since,  -- instant | Since when complete answers no longer list a relation that should stand
    f.fetched_at  -- instant | When the API call that brought these columns began; NULL: not listed yet
FROM customer_follow AS f
JOIN customer AS c ON c.corpid = f.corpid AND c.userid = f.userid
LEFT JOIN employee AS e ON e.corpid = f.corpid AND e.userid = f.follow_userid
LEFT JOIN v_employee_alias AS o ON o.corpid = f.corpid AND o.userid = LOWER(f.oper_userid)
  AND MOMENT(f.createtime) >= o.valid_from AND MOMENT(f.createtime) < o.valid_to
