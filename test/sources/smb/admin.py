"""An administrator of a share, and whoever tries to read it, line by line: JSON in, JSON out. The client is Samba's own."""

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from samba import NTSTATUSError, credentials
from samba.dcerpc import security
from samba.samba3 import libsmb_samba_internal as libsmb
from samba.samba3 import param

host, password, domain = sys.argv[1:4]
context = param.get_context()
context.load("/dev/null")
ALL = security.SECINFO_OWNER | security.SECINFO_GROUP | security.SECINFO_DACL | security.SECINFO_PROTECTED_DACL
GENERIC_READ = 0x120089
SHARING_VIOLATION = 0xC0000043
REFUSED = (0xC0000022, 0xC0000072)  # ACCESS_DENIED, ACCOUNT_DISABLED
connections = {}


def connect(name, share):
    if (name, share) not in connections:
        who = credentials.Credentials()
        who.guess(context)
        who.set_username(name)
        who.set_password(password)
        who.set_domain("FS")
        connections[name, share] = libsmb.Conn(host, share, lp=context, creds=who, multi_threaded=True)
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


def when_closed(work, *arguments):
    """Whoever read it is gone, and the server may not have closed it yet."""
    for _ in range(100):
        try:
            return work(*arguments)
        except NTSTATUSError as error:
            if error.args[0] & 0xFFFFFFFF != SHARING_VIOLATION:
                raise
            time.sleep(0.1)
    return work(*arguments)


def unless_refused(work, *arguments):
    try:
        return work(*arguments)
    except NTSTATUSError as error:
        if error.args[0] & 0xFFFFFFFF in REFUSED:
            return None
        raise


def read(connection, path):
    """What smbclient's `get` asks for, and the content."""
    handle = connection.create(path.replace("/", "\\"), DesiredAccess=GENERIC_READ, ShareAccess=7)
    try:
        return connection.read(handle, 0, 1000).decode()
    finally:
        connection.close(handle)


def reads(name, share, paths):
    connection = unless_refused(connect, name, share)
    return [connection and unless_refused(read, connection, each) for each in paths]


def run(question):
    op, path = question["op"], question.get("path", "").replace("/", "\\")
    if op == "write":
        when_closed(admin().savefile, path, question["text"].encode())
    elif op == "mkdir":
        admin().mkdir(path)
    elif op == "rename":
        when_closed(admin().rename, path, question["to"].replace("/", "\\"))
    elif op == "rm":
        when_closed(admin().unlink, path)
    elif op == "rmdir":
        when_closed(admin().rmdir, path)
    elif op == "rights":
        when_closed(set_rights, path, question["sddl"])
    elif op == "reads":
        share, paths = question["share"], question["paths"]
        with ThreadPoolExecutor(len(paths) or 1) as people:
            return list(people.map(lambda name: reads(name, share, paths[name]), paths))
    elif op == "forget":
        for name in question["names"]:
            connections.pop((name, question["share"]), None)
    else:
        raise ValueError(op)
    return None


for line in sys.stdin:
    try:
        answer = {"ok": run(json.loads(line))}
    except Exception as error:  # the test says what it was
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
