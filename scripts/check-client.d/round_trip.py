"""Signs up, uploads, looks and downloads with the client that was generated from the server's document: URL of the server as the argument."""

import io
import os
import sys

from miaofs_client import AuthenticatedClient, Client
from miaofs_client.api.accounts import account, sign_up
from miaofs_client.api.by_path import meta, query, upload
from miaofs_client.api.download import download
from miaofs_client.api.drive import changes
from miaofs_client.models import Code, Device, Form, Problem, SignUp
from miaofs_client.types import File

url = sys.argv[1]
who = SignUp(name="generated", password="correct horse battery", device=Device(name="generated"))
session = sign_up.sync(client=Client(url), body=who)
client = AuthenticatedClient(url, token=session.access_token)

contents = {"/bytes/one": os.urandom(100_000), "/form": b"", "/bytes/two": b"x"}
for path, content in contents.items():
    file = File(io.BytesIO(content), file_name="file")
    as_form = path == "/form"
    node = upload.sync(client=client, body=Form(path=path, file=file)) if as_form else upload.sync(client=client, body=file, path=path)
    assert node.state.content.size == len(content), node
    answer = download.sync_detailed(client=client, path=path)
    assert answer.content == content, path
    assert meta.sync(client=client, path=path).id == node.id

part = download.sync_detailed(client=client, path="/bytes/one", range_="bytes=10-19")
assert (part.status_code, part.content) == (206, contents["/bytes/one"][10:20])
names = [node.state.entries[0].name for node in query.sync(client=client, path="/bytes").nodes]
assert names == ["one", "two"], names
assert len(changes.sync(client=client, since=0).nodes) == 5
assert account.sync(client=client).name == "generated"

for problem, code in [
    (meta.sync(client=client, path="/nothing"), Code.NOT_FOUND),
    (account.sync(client=AuthenticatedClient(url, token="x")), Code.UNAUTHORIZED),
    (sign_up.sync(client=Client(url), body=who), Code.ACCOUNT_EXISTS),
]:
    assert isinstance(problem, Problem) and problem.code == code, problem
print("the generated client signed up, uploaded and downloaded")
