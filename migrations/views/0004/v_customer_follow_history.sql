-- Every version that this system held of the rows of customer_follow, as it knew them then; phone numbers are masked.
SELECT
    h.corpid,  -- id | The corporation
    h.userid AS external_userid,  -- id | The platform's external_userid
    h.userid,  -- id | The same, under the name that the tables have for it
    COALESCE(a.new_userid, h.follow_userid) AS follow_userid,  -- id | The employee, under the id of today
    h.follow_userid AS known_userid,  -- id | The same under the id of then, in lower case
    h.valid_from,  -- instant | Since when this system held this version
    COALESCE(h.valid_to, FOREVER) AS valid_to,  -- instant | Until when; the year 9999: it still does
    h.happened_at,  -- instant | CreateTime of the event that led to it; NULL: no event did
    h.source,  -- text | What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)
    h.event_id,  -- text | The event that led to it, if one did
    h.remark,  -- text | The employee's name for the customer
    h.description,  -- text | The employee's note
    h.remark_corp_name,  -- text | Company in the employee's remark, WeChat users only
    MASKED_LIST(h.remark_mobiles) AS remark_mobiles,  -- text | Phone numbers in the remark, masked, with commas
    h.add_way,  -- integer | How the customer was added, the platform's number (document 92114)
    h.state,  -- text | Channel value of the contact-me code or acquisition link
    COALESCE(o.new_userid, h.oper_userid) AS oper_userid,  -- id | Who started it: employee (id of today), customer, colleague or admin
    h.wechat_channels,  -- JSON | WeChat Channels source, only for add_way 10
    h.createtime,  -- integer | When the platform says the relation began (Unix seconds)
    h.lost_at,  -- instant | Since when the relation has ended; NULL: it stands
    h.lost_by  -- text | Who ended it: employee, customer, transfer, left, reconcile
FROM customer_follow_history AS h
LEFT JOIN v_employee_alias AS a ON a.corpid = h.corpid AND a.userid = h.follow_userid
  AND COALESCE(h.happened_at, h.valid_from) >= a.valid_from AND COALESCE(h.happened_at, h.valid_from) < a.valid_to
LEFT JOIN v_employee_alias AS o ON o.corpid = h.corpid AND o.userid = LOWER(h.oper_userid)
  AND MOMENT(h.createtime) >= o.valid_from AND MOMENT(h.createtime) < o.valid_to
