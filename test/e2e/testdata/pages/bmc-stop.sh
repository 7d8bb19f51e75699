curl -sS -i -X POST 'https://hostname.bmc.com/opt/api/v1/backend/etls/53/stop' \
-H 'Content-Type: application/json' \
-H 'Authorization: Bearer <jwttoken>'
