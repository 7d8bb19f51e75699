curl -sS -i -X POST 'https://hostname.bmc.com/opt/api/v1/backend/etls/458/kill' \
-H 'Content-Type: application/json' \
-H 'Authorization: Bearer <jwttoken>'
