FROM tools:v1
COPY settings.conf /etc/
COPY work.sh /usr/local/bin/work
ENTRYPOINT ["sh", "/usr/local/bin/work"]
