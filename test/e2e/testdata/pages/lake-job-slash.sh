curl --request GET \
     --url 'https://<console-url>/api/accounts/<account-id>/baas/jobs/<job-id>/' \
     --header 'Accept: application/json' \
     --header 'Authorization: Bearer <JWT token>'
