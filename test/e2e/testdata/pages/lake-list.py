import requests

# URL path for API with backup-type=BACKUP
url = 'https://<console-url>/api/accounts/<account-id>/baas/jobs'
params = {
    'page': 1,
    'page-size': 10,
    'backup-type': 'BACKUP'
}
headers = {
    'Accept': 'application/json',
    'Authorization': 'Bearer <jwt>'
}

response = requests.get(url, headers=headers, params=params)
print(response.json())
