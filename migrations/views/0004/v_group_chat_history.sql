-- Every version that this system held of the rows of group_chat, as it knew them then.
SELECT
    h.corpid,  -- id | The corporation
    h.chat_id,  -- id | The platform's id of the group
    h.valid_from,  -- instant | Since when this system held this version
    COALESCE(h.valid_to, FOREVER) AS valid_to,  -- instant | Until when; the year 9999: it still does
    h.happened_at,  -- instant | CreateTime of the event that led to it; NULL: no event did
    h.source,  -- text | What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)
    h.event_id,  -- text | The event that led to it, if one did
    h.name,  -- text | Name; empty for a group without one
    h.owner,  -- id | The employee who owns it, in lower case
    h.notice,  -- text | Notice of the group
    h.create_time,  -- integer | When the platform says it was made (Unix seconds)
    h.admins,  -- JSON | Ids of its administrators, in lower case, a list
    h.dismissed_at,  -- instant | Since when the group has been dismissed; NULL: is there
    h.gone_at  -- instant | Since when the platform does not show it: dismissed, or owner out of range
FROM group_chat_history AS h
