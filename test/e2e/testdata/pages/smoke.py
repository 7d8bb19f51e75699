"""The smoke tests that a replacement for the Teradata BaaS APIs should pass, with Python's requests.

BASE, TOKEN, JWT, ACCOUNT, SITE, JOB (never run), LONG (a job for the abort) and TARGET (an empty directory) come from
the environment. Prints a line for each test; the first that fails ends the script with an AssertionError.
"""
import os
import re
import time

import requests

BASE, SITE, JOB, LONG = (os.environ[k] for k in ('BASE', 'SITE', 'JOB', 'LONG'))
site = f"{BASE}/data-protection/v2/sites/{SITE}"
lake = f"{BASE}/api/accounts/{os.environ['ACCOUNT']}/baas"
enterprise = requests.Session()
enterprise.headers.update({'Authorization': 'Bearer ' + os.environ['TOKEN'], 'Accept': 'application/json'})
tower = requests.Session()
tower.headers.update({'Authorization': 'Bearer ' + os.environ['JWT'], 'Accept': 'application/json'})
STAMP = re.compile(r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$')


def get(session, url, status=200, **kw):
    r = session.get(url, timeout=30, **kw)
    assert r.status_code == status, (url, r.status_code, r.text)
    return r


def post(session, url, status=202, **kw):
    r = session.post(url, timeout=30, **kw)
    assert r.status_code == status, (url, r.status_code, r.text)
    return r


def executions(job):
    return get(enterprise, f'{site}/jobs/{job}/executions').json()


def wait(job, execution):
    for _ in range(600):
        one = [e for e in executions(job) if e['execution_id'] == execution]
        assert one, execution
        if one[0]['status'] not in ('QUEUED', 'RUNNING', 'ABORTING'):
            return one[0]
        time.sleep(0.1)
    raise AssertionError('execution %s did not end' % execution)


def ok(number, text):
    print(f'ok {number}: {text}', flush=True)


# 1. The list of jobs with and without a query is a JSON array.
plain = get(tower, f'{lake}/jobs').json()
asked = get(tower, f'{lake}/jobs', params={'page': 1, 'page-size': 10, 'backup-type': 'BACKUP'}).json()
assert isinstance(plain, list) and isinstance(asked, list) and asked[0]['job_type'] == 'BACKUP', asked
ok(1, f'{len(plain)} jobs')

# 2. A job with and without the trailing slash: identical bytes.
assert get(tower, f'{lake}/jobs/{JOB}').content == get(tower, f'{lake}/jobs/{JOB}/').content
ok(2, 'identical bytes')

# 11 first, while the job has never run: the first DELTA runs as FULL.
r = post(enterprise, f'{site}/jobs/{JOB}/execute', json={'run_type': 'DELTA'})
first = wait(JOB, r.headers['x-resource-id'])
assert first['status'] == 'SUCCESSFUL' and first['run_type'] == 'FULL' and first['status_detail'], first
ok(11, first['status_detail'])

# 3. Execute on Lake.
r = post(tower, f'{lake}/jobs/{JOB}/execute', json={'run_type': 'FULL'})
assert r.headers['x-resource-id'].isdigit() and isinstance(r.json(), dict)
full = wait(JOB, r.headers['x-resource-id'])
assert full['status'] == 'SUCCESSFUL', full
ok(3, 'x-resource-id ' + r.headers['x-resource-id'])

# 4. The Python sample for execute is a GET: it starts nothing.
before = len(executions(JOB))
get(tower, f'{lake}/jobs/{JOB}')
assert len(executions(JOB)) == before
ok(4, 'no run started')

# 5. Pages of ten; values in any case.
assert len(get(enterprise, f'{site}/jobs').json()) == 10
second = get(enterprise, f'{site}/jobs', params={'page': 2}).json()
assert second and second[0]['job_id'] > get(enterprise, f'{site}/jobs').json()[-1]['job_id']
assert get(enterprise, f'{site}/jobs?job-type=Backup').json() == get(enterprise, f'{site}/jobs?job-type=BACKUP').json()
ok(5, '10 and %d' % len(second))

# 6. The keys of a job, and of an item of the list.
job = get(enterprise, f'{site}/jobs/{JOB}').json()
assert 'skip_statstics' in job['job_settings'] and 'siteTargetType' in job and 'targetSiteDetails' in job
assert all('job_settings' not in item for item in get(enterprise, f'{site}/jobs').json())
ok(6, 'skip_statstics, siteTargetType, targetSiteDetails')

# 7. The run type in the body, in the query, in neither.
for body, query, run_type in (({'run_type': 'DELTA'}, {}, 'DELTA'), (None, {'run_type': 'Delta'}, 'DELTA'), (None, {}, 'FULL')):
    r = post(enterprise, f'{site}/jobs/{JOB}/execute', json=body, params=query)
    e = wait(JOB, r.headers['x-resource-id'])
    assert e['status'] == 'SUCCESSFUL' and e['run_type'] == run_type, e
ok(7, 'body, query, neither')

# 8. Types and times.
for e in get(enterprise, f'{site}/executions').json():
    assert isinstance(e['execution_id'], str) and isinstance(e['job_id'], int) and isinstance(e['saveset_id'], int), e
    assert STAMP.match(e['start_time']) and STAMP.match(e['end_time']), e
ok(8, 'texts, numbers, six digits and Z')

# 9. Restore: the calls about single objects say that this set has none, the rest works.
run = f"{site}/jobs/{JOB}/executions/{full['execution_id']}"
for call in (enterprise.post(f'{run}/prepare-objects', timeout=30), enterprise.get(f'{run}/objects', timeout=30)):
    assert call.status_code == 409 and call.json()['code'] == 'OPERATION_NOT_AVAILABLE', call.text
get(enterprise, f'{site}/objects-preparation-status', 404)
assert get(enterprise, f'{site}/restore-permissions', 405).headers['Allow']
assert post(enterprise, f'{site}/restore-permissions', 200).json()['has_permission'] is True
r = post(enterprise, f'{run}/restores', headers={'x-auth-credentials': 'Basic dXNlcjpwYXNzd29yZA=='},
         json={'name': 'smoke of ' + JOB, 'target_site': SITE, 'target_directory': os.environ['TARGET'], 'job_settings': {'objects': []}})
restore = r.headers['x-resource-id']
for _ in range(600):
    e = get(enterprise, f'{run}/restores/{restore}').json()
    if e['status'] not in ('QUEUED', 'RUNNING'):
        break
    time.sleep(0.1)
assert e['status'] == 'SUCCESSFUL' and e['job_type'] == 'RESTORE' and e['parent_execution_id'] == full['execution_id'], e
assert os.path.exists(os.path.join(os.environ['TARGET'], 'PG_VERSION'))
ok(9, 'restore %s' % restore)

# 10. Both forms of the token were taken: see the caller.
ok(10, 'the token of JWT')

# 12. An abort leaves no save set, and what was there before is untouched.
sets = [c['saveset_id'] for c in get(enterprise, f'{site}/retained-copies').json()]
for _ in range(10):
    r = post(enterprise, f'{site}/jobs/{LONG}/execute')
    stopped = enterprise.post(f'{site}/jobs/{LONG}/abort', timeout=30)
    e = wait(LONG, r.headers['x-resource-id'])
    if stopped.status_code == 202 and e['status'] == 'ABORTED':
        break
    sets = [c['saveset_id'] for c in get(enterprise, f'{site}/retained-copies').json()]
assert e['status'] == 'ABORTED', e
assert [c['saveset_id'] for c in get(enterprise, f'{site}/retained-copies').json()] == sets
ok(12, 'ABORTED, %d save sets as before' % len(sets))
