curl -L -X POST 'https://CommandCenterHostName/commandcenter/api/Createtask' \
-H 'Content-Type: application/json' \
-H 'Accept: application/json' \
-H 'Authtoken: <API_KEY_VALUE>' \
--data-raw '{
"taskInfo": {
"associations": [
{
"subclientId": 0,
"displayName": "string",
"clientId": 0,
"instanceName": "string",
"appName": "PostgreSQL",
"applicationId": 0,
"clientName": "string",
"backupsetId": 0,
"instanceId": 0,
"subclientName": "string",
"backupsetName": "string"
}
],
"task": {
"taskType": 0
},
"subTasks": [
{
"subTask": {
"subTaskType": 0,
"operationType": 0
},
"options": {
"backupOpts": {
"backupLevel": "string",
"incrementalDataWithLogs": true
},
"commonOpts": {
"notifyUserOnJobCompletion": true
},
"adminOpts": {
"clientInstallOption": {
"installerOption": {
"User": {
"userId": 0,
"userName": "string"
}
}
}
}
}
}
]
}
}'
