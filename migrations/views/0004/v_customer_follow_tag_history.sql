-- Every version that this system held of the rows of customer_follow_tag, as it knew them then.
SELECT
    h.corpid,  -- id | The corporation
    h.userid AS external_userid,  -- id | The platform's external_userid
    h.userid,  -- id | The same, under the name that the tables have for it
    COALESCE(a.new_userid, h.follow_userid) AS follow_userid,  -- id | The employee, under the id of today
    h.follow_userid AS known_userid,  -- id | The same under the id of then, in lower case
    h.tag_key,  -- id | tag_id, or for a personal tag a digest of group and name
    h.valid_from,  -- instant | Since when this system held this version
    COALESCE(h.valid_to, FOREVER) AS valid_to,  -- instant | Until when; the year 9999: it still does
    h.happened_at,  -- instant | CreateTime of the event that led to it; NULL: no event did
    h.source,  -- text | What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)
    h.event_id,  -- text | The event that led to it, if one did
    h.type,  -- integer | 1 corp tag, 2 personal tag, 3 rule-group tag
    h.tag_id,  -- id | The platform's tag id; personal tags have none
    h.group_name,  -- text | Name of the tag's group
    h.tag_name  -- text | Name of the tag
FROM customer_follow_tag_history AS h
LEFT JOIN v_employee_alias AS a ON a.corpid = h.corpid AND a.userid = h.follow_userid
  AND COALESCE(h.happened_at, h.valid_from) >= a.valid_from AND COALESCE(h.happened_at, h.valid_from) < a.valid_to
