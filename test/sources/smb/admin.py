"""An administrator of a share, and whoever tries to read it, line by line: JSON in, JSON out. The client is Samba's own."""

import json
import sys

from samba import NTSTATUSError, credentials
from samba.dcerpc import security
from samba.samba3 import libsmb_samba_internal as libsmb
from samba.samba3 import param

host, password, domain = sys.argv[1:4]
context = param.get_context()
context.load("/dev/null")
ALL = security.SECINFO_OWNER | security.SECINFO_GROUP | security.SECINFO_DACL | security.SECINFO_PROTECTED_DACL
GENERIC_READ = 0x120089
connections = {}


def connect(name, share):
    if (name, share) not in connections:
        who = credentials.Credentials()
        who.guess(context)
        who.set_username(name)
        who.set_password(password)
        who.set_domain("FS")
        connections[name, share] = libsmb.Conn(host, share, lp=context, creds=who)
    return connections[name, share]


def admin():
    return connect("root", "admin")


def set_rights(path, sddl):
    # No DACL at all cannot be said in SDDL.
    is_open = sddl.endswith("D:NONE")
    descriptor = security.descriptor.from_sddl(sddl[:-6] + "D:" if is_open else sddl, security.dom_sid(domain))
    if is_open:
        descriptor.dacl = None
        descriptor.type |= security.SEC_DESC_DACL_PRESENT
    handle = admin().create(path, DesiredAccess=0x020E0080, ShareAccess=7)
    try:
        admin().set_sd(handle, descriptor, ALL)
    finally:
        admin().close(handle)


def reads(name, share, path):
    """What smbclient's `get` asks for, and the content."""
    try:
        connection = connect(name, share)
        handle = connection.create(path, DesiredAccess=GENERIC_READ, ShareAccess=7)
        try:
            return connection.read(handle, 0, 1000).decode()
        finally:
            connection.close(handle)
    except NTSTATUSError as error:
        if error.args[0] & 0xFFFFFFFF in (0xC0000022, 0xC0000072):  # ACCESS_DENIED, ACCOUNT_DISABLED
            return None
        raise


def run(question):
    op, path = question["op"], question.get("path", "").replace("/", "\\")
    if op == "write":
        admin().savefile(path, question["text"].encode())
    elif op == "mkdir":
        admin().mkdir(path)
    elif op == "rename":
        admin().rename(path, question["to"].replace("/", "\\"))
    elif op == "rm":
        admin().unlink(path)
    elif op == "rmdir":
        admin().rmdir(path)
    elif op == "rights":
        set_rights(path, question["sddl"])
    elif op == "reads":
        paths = [each.replace("/", "\\") for each in question["paths"]]
        return [[reads(name, question["share"], each) for each in paths] for name in question["names"]]
    elif op == "forget":
        connections.clear()
    else:
        raise ValueError(op)
    return None


for line in sys.stdin:
    try:
        answer = {"ok": run(json.loads(line))}
    except Exception as error:  # the test says what it was
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
