-- A role that reads the views for analysts and nothing else; docs/how-to/ask-the-tables.md says how to use it.
--
-- Run it in the CRM's database, as a user who may create roles and grant; once more after every release whose notes name
-- new views. A second time changes nothing. The views read with the rights of the user who ran wecom-crm migrate, so keep
-- that user.

CREATE ROLE IF NOT EXISTS crm_analyst;

GRANT SELECT ON v_customer TO crm_analyst;
GRANT SELECT ON v_customer_follow TO crm_analyst;
GRANT SELECT ON v_customer_tag TO crm_analyst;
GRANT SELECT ON v_daily_customer_flow TO crm_analyst;
GRANT SELECT ON v_employee_alias TO crm_analyst;
GRANT SELECT ON v_employee_portfolio TO crm_analyst;
GRANT SELECT ON v_event TO crm_analyst;
GRANT SELECT ON v_freshness TO crm_analyst;
GRANT SELECT ON v_group_chat TO crm_analyst;
GRANT SELECT ON v_relation_change TO crm_analyst;
GRANT SELECT ON v_customer_follow_history TO crm_analyst;
GRANT SELECT ON v_customer_follow_tag_history TO crm_analyst;
GRANT SELECT ON v_customer_history TO crm_analyst;
GRANT SELECT ON v_department_history TO crm_analyst;
GRANT SELECT ON v_employee_department_history TO crm_analyst;
GRANT SELECT ON v_employee_history TO crm_analyst;
GRANT SELECT ON v_group_chat_history TO crm_analyst;
GRANT SELECT ON v_group_chat_member_history TO crm_analyst;
GRANT SELECT ON v_tag_group_history TO crm_analyst;
GRANT SELECT ON v_tag_history TO crm_analyst;

-- A login for each analyst, with a password of its own:
--
--   CREATE USER 'anna'@'%' IDENTIFIED BY 'change-me' WITH MAX_STATEMENT_TIME 300;
--   GRANT crm_analyst TO 'anna'@'%';
--   SET DEFAULT ROLE crm_analyst FOR 'anna'@'%';
