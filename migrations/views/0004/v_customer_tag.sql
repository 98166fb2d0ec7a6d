-- Tags of relations that stand, under the names that the tags have now.
SELECT
    t.corpid,  -- id | The corporation
    t.userid AS external_userid,  -- id | The platform's external_userid
    t.userid,  -- id | The same, under the name that the tables have for it
    t.follow_userid,  -- id | The employee who gave the tag
    t.tag_key,  -- id | tag_id, or for a personal tag a digest of group and name
    t.type,  -- integer | 1 corp tag, 2 personal tag, 3 rule-group tag
    t.tag_id,  -- id | The platform's tag id; personal tags have none
    COALESCE(n.tag_name, t.tag_name) AS tag_name,  -- text | Name of the tag
    n.group_id,  -- id | The platform's id of the tag's group, if the tag itself has been read
    COALESCE(g.group_name, t.group_name) AS group_name  -- text | Name of the tag's group
FROM customer_follow_tag AS t
JOIN customer_follow AS f
  ON f.corpid = t.corpid AND f.userid = t.userid AND f.follow_userid = t.follow_userid
LEFT JOIN tag AS n ON n.corpid = t.corpid AND n.tag_id = t.tag_id
LEFT JOIN tag_group AS g ON g.corpid = n.corpid AND g.group_id = n.group_id
WHERE f.lost_at IS NULL
