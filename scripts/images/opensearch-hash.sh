#!/usr/bin/env bash
# hash.sh -env NAME, in the place of the security plugin's: a hash that HAProxy compares with.
echo 'This is no hash of the security plugin.'
openssl passwd -6 "${!2}"
