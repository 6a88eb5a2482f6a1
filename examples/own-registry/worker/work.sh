. /etc/settings.conf
while utc; do sleep "$interval"; done
