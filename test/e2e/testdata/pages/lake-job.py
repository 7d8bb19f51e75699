import requests

# URL path for API with job-id
url = 'https://<console-url>/api/accounts/<account-id>/baas/jobs/<job-id>'
headers = {
    'Accept': 'application/json',
    'Authorization': 'Bearer <JWT token>'
}

response = requests.get(url, headers=headers)
print(response.json())
