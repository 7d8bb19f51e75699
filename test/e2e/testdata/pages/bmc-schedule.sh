curl -sS -i -X POST 'https://hostname.bmc.com/opt/api/v1/backend/etls/57/schedule' \
-H 'Content-Type: application/json' \
-H 'Authorization: Bearer <jwttoken>' \
--data '{
"run_execution_properties": {
"additional.property": "example of optional run execution property"
}
}'
