-- A role that reads the views for analysts and nothing else; docs/how-to/ask-the-tables.md says how to use it.
--
-- Run it in the CRM's database, as its owner if that user may create roles, else as a superuser; once more after every
-- release whose notes name new views. A second time changes nothing. What the role could read before it can't any more.

DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'crm_analyst') THEN
        CREATE ROLE crm_analyst NOLOGIN;
    END IF;
END
$$;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM crm_analyst;
GRANT USAGE ON SCHEMA public TO crm_analyst;
GRANT SELECT ON
    v_customer,
    v_customer_follow,
    v_customer_tag,
    v_daily_customer_flow,
    v_employee_alias,
    v_employee_portfolio,
    v_event,
    v_freshness,
    v_group_chat,
    v_relation_change,
    v_customer_follow_history,
    v_customer_follow_tag_history,
    v_customer_history,
    v_department_history,
    v_employee_department_history,
    v_employee_history,
    v_group_chat_history,
    v_group_chat_member_history,
    v_tag_group_history,
    v_tag_history
TO crm_analyst;

-- A login for each analyst, with a password of its own:
--
--   CREATE ROLE anna LOGIN PASSWORD 'change-me' IN ROLE crm_analyst;
--   ALTER ROLE anna SET timezone = 'UTC';
--   ALTER ROLE anna SET default_transaction_read_only = on;
--   ALTER ROLE anna SET statement_timeout = '5min';
