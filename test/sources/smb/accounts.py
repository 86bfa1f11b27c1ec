"""The accounts of a server, and who is in its groups, line by line: JSON in, JSON out. Writes what the server reads."""

import json
import sys

from samba import credentials
from samba.dcerpc import lsa, samr, security
from samba.samba3 import param, passdb

configuration, private, password = sys.argv[1:4]
context = param.get_context()
context.load(configuration)
passdb.set_secrets_dir(private)
accounts = passdb.PDB(context.get("passdb backend"))
domain = str(passdb.get_global_sam_sid())
KINDS = {"group": lsa.SID_NAME_DOM_GRP, "alias": lsa.SID_NAME_ALIAS}


def open_account(name):
    accounts.create_user(name, samr.ACB_NORMAL)
    account = accounts.getsampwnam(name)
    secret = credentials.Credentials()
    secret.set_password(password)
    account.nt_passwd = bytes(secret.get_nt_hash())
    account.acct_ctrl = samr.ACB_NORMAL
    account.pass_last_set_time = 1
    accounts.update_sam_account(account)
    return str(account.user_sid)


def open_group(name, gid, kind, sid=None):
    group = passdb.Groupmap()
    group.gid = gid
    group.sid = security.dom_sid(sid or f"{domain}-{accounts.new_rid()}")
    group.sid_name_use = KINDS[kind]
    group.nt_name = name
    group.comment = ""
    accounts.add_group_mapping_entry(group)
    return str(group.sid)


def run(question):
    op = question.pop("op")
    if op == "open":
        sids = {name: open_account(name) for name in question["accounts"]}
        sids.update({group["name"]: open_group(**group) for group in question["groups"]})
        return {"domain": domain, "sids": sids}
    if op == "member":
        change = accounts.add_aliasmem if question["isIn"] else accounts.del_aliasmem
        change(security.dom_sid(question["alias"]), security.dom_sid(question["sid"]))
    elif op == "disable":
        account = accounts.getsampwnam(question["name"])
        account.acct_ctrl = samr.ACB_NORMAL | (samr.ACB_DISABLED if question["isDisabled"] else 0)
        accounts.update_sam_account(account)
    else:
        raise ValueError(op)
    return None


for line in sys.stdin:
    try:
        answer = {"ok": run(json.loads(line))}
    except Exception as error:  # the test says what it was
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
