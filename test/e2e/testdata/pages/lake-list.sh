curl --request GET \
     --url 'https://<console-url>/api/accounts/<account-id>/baas/jobs?page=1&page-size=10&backup-type=BACKUP' \
     --header 'Accept: application/json' \
     --header 'Authorization: Bearer <JWT token>'
