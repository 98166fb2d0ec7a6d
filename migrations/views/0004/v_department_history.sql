-- Every version that this system held of the rows of department, as it knew them then.
SELECT
    h.corpid,  -- id | The corporation
    h.department_id,  -- integer | The platform's number; 1 is the root
    h.valid_from,  -- instant | Since when this system held this version
    COALESCE(h.valid_to, FOREVER) AS valid_to,  -- instant | Until when; the year 9999: it still does
    h.happened_at,  -- instant | CreateTime of the event that led to it; NULL: no event did
    h.source,  -- text | What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)
    h.event_id,  -- text | The event that led to it, if one did
    h.name,  -- text | Name
    h.name_en,  -- text | English name
    h.parentid,  -- integer | The department above
    h.sort_order,  -- integer | Place among its siblings, larger first
    h.leaders,  -- JSON | Ids of those who lead it, in lower case, a list
    h.deleted_at,  -- instant | Since when it has been deleted, as events tell; NULL: is there
    h.gone_at  -- instant | Since when the platform does not show it: deleted, or out of range
FROM department_history AS h
