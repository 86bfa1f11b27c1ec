-- What stands for an auth_req_id is in backchannel_requests; nothing wrote this one.
alter table approvals drop column reference;
