-- Every event that WeCom told, readable; without the document itself.
SELECT
    e.corpid,  -- id | The corporation
    e.event_id,  -- text | SHA-256 over corpid and the document's leaves
    e.happened_at,  -- instant | CreateTime, at most the receive time
    CHINA_DAY(e.happened_at) AS day,  -- day | The day of that in China (UTC + 8 h)
    e.event,  -- text | The platform's Event
    e."change" AS change_type,  -- text | The platform's ChangeType, empty if there is none
    e.kind,  -- text | Kind of the object: customer, member, party, member_tag, chat, tag, tag_group
    e.object_id,  -- id | Id of the object that changed
    CASE WHEN e.kind = 'customer' THEN e.object_id END AS external_userid,  -- id | The customer, if it is about one
    COALESCE(a.new_userid, e.userid) AS follow_userid,  -- id | The employee concerned, under the id of today
    e.userid AS told_userid,  -- id | The same under the id that the event said, in lower case
    n.name AS employee_name,  -- text | The employee's name; NULL: not read yet, or not told to this app
    e.detail,  -- text | The platform's Source, FailReason, UpdateDetail, TagType or new id, if it says one
    e.outcome,  -- text | applied, or unknown: kept but not understood
    e.received_at,  -- instant | When the callback came in
    e.recorded_at,  -- instant | When it was written down
    e.callback  -- text | Name of the callback configuration it came through
FROM contact_event AS e
LEFT JOIN v_employee_alias AS a ON a.corpid = e.corpid AND a.userid = e.userid
  AND e.happened_at >= a.valid_from AND e.happened_at < a.valid_to
LEFT JOIN employee AS n ON n.corpid = e.corpid AND n.userid = COALESCE(a.new_userid, e.userid)
