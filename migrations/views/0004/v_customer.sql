-- Customers as they are now, with how many employees have them.
SELECT
    c.corpid,  -- id | The corporation
    c.userid AS external_userid,  -- id | The platform's external_userid
    c.userid,  -- id | The same, under the name that the tables have for it
    c.name,  -- text | Nickname, or the name a WeCom user shows to outsiders
    c.type,  -- integer | 1 WeChat user, 2 WeCom user
    c.gender,  -- integer | 0 unknown, 1 male, 2 female
    c.avatar,  -- text | Address of the picture
    c.unionid,  -- id | WeChat unionid, if a developer id is bound
    c.position,  -- text | Job title, WeCom users only
    c.corp_name,  -- text | Short name of the customer's own corporation, WeCom users only
    c.corp_full_name,  -- text | Full name of the customer's own corporation, WeCom users only
    COALESCE(r.relations, 0) AS relations,  -- integer | Employees who have the customer or had
    COALESCE(r.standing, 0) AS standing_relations,  -- integer | Employees who have the customer now
    CASE WHEN r.relations > 0 AND r.standing = 0 THEN 1 ELSE 0
         END AS lost_by_all,  -- integer | 1: nobody has the customer any more; 0: somebody has
    CASE WHEN b.first_at IS NULL OR r.first_at < b.first_at THEN r.first_at ELSE b.first_at
         END AS first_added_at,  -- instant | When the first relation that is known began
    CASE WHEN b.last_at IS NULL OR r.last_at > b.last_at THEN r.last_at ELSE b.last_at
         END AS last_added_at,  -- instant | When a relation began last
    r.last_lost_at,  -- instant | The latest lost_at of relations that have ended
    c.first_seen_at,  -- instant | When this system first heard of the customer
    c.fetched_at,  -- instant | When the API call that brought these columns began; NULL: not read yet
    c.gone_at  -- instant | Since when the platform shows nobody in range who has this customer
FROM customer AS c
LEFT JOIN (
    SELECT f.corpid, f.userid, COUNT(*) AS relations, COUNT(CASE WHEN f.lost_at IS NULL THEN 1 END) AS standing,
           MAX(f.lost_at) AS last_lost_at,
           MIN(CASE WHEN MOMENT(f.createtime) IS NULL OR f.last_add_at < MOMENT(f.createtime) THEN f.last_add_at
                    ELSE MOMENT(f.createtime) END) AS first_at,
           MAX(CASE WHEN MOMENT(f.createtime) IS NULL OR f.last_add_at > MOMENT(f.createtime) THEN f.last_add_at
                    ELSE MOMENT(f.createtime) END) AS last_at
    FROM customer_follow AS f
    GROUP BY f.corpid, f.userid
) AS r ON r.corpid = c.corpid AND r.userid = c.userid
LEFT JOIN (
    -- A relation that began again has only its latest beginning in the table.
    SELECT h.corpid, h.userid, MIN(MOMENT(h.createtime)) AS first_at, MAX(MOMENT(h.createtime)) AS last_at
    FROM customer_follow_history AS h
    GROUP BY h.corpid, h.userid
) AS b ON b.corpid = c.corpid AND b.userid = c.userid
