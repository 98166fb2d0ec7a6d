-- Every version that this system held of the rows of employee, as it knew them then; phone numbers are masked.
SELECT
    h.corpid,  -- id | The corporation
    h.userid,  -- id | The employee's id in lower case
    h.valid_from,  -- instant | Since when this system held this version
    COALESCE(h.valid_to, FOREVER) AS valid_to,  -- instant | Until when; the year 9999: it still does
    h.happened_at,  -- instant | CreateTime of the event that led to it; NULL: no event did
    h.source,  -- text | What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)
    h.event_id,  -- text | The event that led to it, if one did
    h.userid_shown,  -- id | The same as the platform spells it
    h.name,  -- text | Name
    h.alias,  -- text | Alias
    h.gender,  -- integer | 0 unknown, 1 male, 2 female; newer apps are not told
    h.position,  -- text | Job title
    h.external_position,  -- text | Job title that customers are shown
    MASKED(h.mobile) AS mobile,  -- text | Mobile number, masked; newer apps are not told
    MASKED(h.telephone) AS telephone,  -- text | Telephone number, masked
    h.email,  -- text | Mail address; newer apps are not told
    h.biz_mail,  -- text | Corporate mail address; newer apps are not told
    h.avatar,  -- text | Address of the picture; newer apps are not told
    h.status,  -- integer | 1 active, 2 disabled, 4 not activated, 5 left
    h.main_department,  -- integer | Main department
    h.direct_leaders,  -- JSON | Superiors' ids in lower case, a list
    h.left_at,  -- instant | Since when the employee has left, as events tell; NULL: is there
    h.gone_at  -- instant | Since when the platform does not show the employee: left, or out of range
FROM employee_history AS h
