#!/bin/sh
echo etl
