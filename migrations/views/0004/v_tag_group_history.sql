-- Every version that this system held of the rows of tag_group, as it knew them then.
SELECT
    h.corpid,  -- id | The corporation
    h.group_id,  -- id | The platform's id of the group
    h.valid_from,  -- instant | Since when this system held this version
    COALESCE(h.valid_to, FOREVER) AS valid_to,  -- instant | Until when; the year 9999: it still does
    h.happened_at,  -- instant | CreateTime of the event that led to it; NULL: no event did
    h.source,  -- text | What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)
    h.event_id,  -- text | The event that led to it, if one did
    h.group_name,  -- text | Name
    h.sort_order,  -- integer | Place among the groups, larger first
    h.create_time,  -- integer | When the platform says it was made (Unix seconds)
    h.strategy_id,  -- id | Rule group whose tags these are; NULL: the corporation's own
    h.deleted_at,  -- instant | Since when it has been deleted; NULL: is there
    h.gone_at  -- instant | Since when the platform does not show it
FROM tag_group_history AS h
