-- Every version that this system held of the rows of tag, as it knew them then.
SELECT
    h.corpid,  -- id | The corporation
    h.tag_id,  -- id | The platform's id of the tag
    h.valid_from,  -- instant | Since when this system held this version
    COALESCE(h.valid_to, FOREVER) AS valid_to,  -- instant | Until when; the year 9999: it still does
    h.happened_at,  -- instant | CreateTime of the event that led to it; NULL: no event did
    h.source,  -- text | What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)
    h.event_id,  -- text | The event that led to it, if one did
    h.group_id,  -- id | The group it is in; NULL: not read yet
    h.tag_name,  -- text | Name
    h.type,  -- integer | 1 the corporation's, 3 a rule group's
    h.sort_order,  -- integer | Place within the group, larger first
    h.create_time,  -- integer | When the platform says it was made (Unix seconds)
    h.deleted_at,  -- instant | Since when it has been deleted; NULL: is there
    h.gone_at  -- instant | Since when the platform does not show it
FROM tag_history AS h
