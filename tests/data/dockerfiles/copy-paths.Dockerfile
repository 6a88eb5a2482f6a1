FROM alpine:3.20
ARG DIR=src
WORKDIR /app
COPY $DIR/main.txt ${DIR}/lib-*.txt ./
COPY ["with blank.txt", "/json/"]
ADD $DIR/more.txt https-not-a-url /add/
