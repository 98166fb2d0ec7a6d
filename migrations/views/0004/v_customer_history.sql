-- Every version that this system held of the rows of customer, as it knew them then.
SELECT
    h.corpid,  -- id | The corporation that sees the customer under this id
    h.userid AS external_userid,  -- id | The platform's external_userid
    h.userid,  -- id | The same, under the name that the tables have for it
    h.valid_from,  -- instant | Since when this system held this version
    COALESCE(h.valid_to, FOREVER) AS valid_to,  -- instant | Until when; the year 9999: it still does
    h.happened_at,  -- instant | CreateTime of the event that led to it; NULL: no event did
    h.source,  -- text | What led to it: event, view (an employee looked), reconcile, or upgrade (of this system)
    h.event_id,  -- text | The event that led to it, if one did
    h.name,  -- text | Nickname, or the name a WeCom user shows to outsiders
    h.type,  -- integer | 1 WeChat user, 2 WeCom user
    h.gender,  -- integer | 0 unknown, 1 male, 2 female
    h.avatar,  -- text | Address of the picture
    h.unionid,  -- id | WeChat unionid, if a developer id is bound
    h.position,  -- text | Job title, WeCom users only
    h.corp_name,  -- text | Short name of the customer's own corporation, WeCom users only
    h.corp_full_name,  -- text | Full name of the customer's own corporation, WeCom users only
    h.gone_at  -- instant | Since when the platform shows nobody in range who has this customer
FROM customer_history AS h
