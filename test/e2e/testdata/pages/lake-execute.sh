JWT_TOKEN='<JWT token>'
curl --request POST \
     --url 'https://<console-url>/api/accounts/<account-id>/baas/jobs/<job-id>/execute' \
     --header 'Accept: application/json' \
     --header 'Content-Type: application/json' \
     --header "Authorization: Bearer ${JWT_TOKEN}" \
     --data '{"run_type":"FULL"}'
