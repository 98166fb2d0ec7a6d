-- Every version that this system held of the rows of group_chat_member, as it knew them then.
SELECT
    h.corpid,  -- id | The corporation
    h.chat_id,  -- id | The group
    h.type,  -- integer | 1 employee, 2 external contact
    h.userid,  -- id | The employee's id in lower case, or the external_userid
    h.valid_from,  -- instant | Since when this system held this version
    COALESCE(h.valid_to, FOREVER) AS valid_to,  -- instant | Until when; the year 9999: it still does
    h.happened_at,  -- instant | CreateTime of the event that led to it; NULL: no event did
    h.source,  -- text | What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)
    h.event_id,  -- text | The event that led to it, if one did
    h.join_time,  -- integer | When the platform says the member joined (Unix seconds)
    h.join_scene,  -- integer | 1 invited by a member, 2 by an invitation link, 3 by the group's QR code
    COALESCE(a.new_userid, h.invitor) AS invitor,  -- id | The employee who invited, under the id of today
    h.group_nickname,  -- text | Nickname in the group
    h.name,  -- text | Name
    h.unionid,  -- id | WeChat unionid, if a developer id is bound
    h.state  -- text | Channel value of the join-group configuration
FROM group_chat_member_history AS h
LEFT JOIN v_employee_alias AS a ON a.corpid = h.corpid AND a.userid = h.invitor
  AND COALESCE(h.happened_at, h.valid_from) >= a.valid_from AND COALESCE(h.happened_at, h.valid_from) < a.valid_to
