-- Every version that this system held of the rows of employee_department, as it knew them then.
SELECT
    h.corpid,  -- id | The corporation
    h.userid,  -- id | The employee
    h.department_id,  -- integer | The department
    h.valid_from,  -- instant | Since when this system held this version
    COALESCE(h.valid_to, FOREVER) AS valid_to,  -- instant | Until when; the year 9999: it still does
    h.happened_at,  -- instant | CreateTime of the event that led to it; NULL: no event did
    h.source,  -- text | What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)
    h.event_id,  -- text | The event that led to it, if one did
    h.is_leader,  -- integer | 1: the employee leads it, 0: not
    h.sort_order  -- integer | Place within the department, larger first
FROM employee_department_history AS h
