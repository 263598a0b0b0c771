#!/bin/sh
# Made these stores, with Java 17's keytool. Kept, so that the tests need no Java. Passphrase: changeit.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
make() {
    store=keytool.$1
    k="keytool -keystore $store -storetype $2 -storepass changeit -noprompt"
    rm -f "$store"
    $k -genkeypair -alias root -keyalg EC -groupname secp256r1 -dname "CN=Store Root" -ext bc:c=ca:true -validity 36500 -keypass changeit
    $k -genkeypair -alias site -keyalg EC -groupname secp256r1 -dname CN=site.example.com -validity 36500 -keypass changeit
    $k -certreq -alias site -file "$work/csr"
    $k -gencert -alias root -infile "$work/csr" -outfile "$work/crt" -ext san=dns:site.example.com -validity 36500
    $k -importcert -alias site -file "$work/crt"
    # Between the entries, so that what comes after it shows that it was passed over.
    [ "$2" = jks ] || $k -genseckey -alias hmac -keyalg HmacSHA256 -keysize 256 -keypass changeit
    for name in first second; do
        keytool -keystore "$work/$name.$1" -storepass changeit -genkeypair -alias x -keyalg EC -groupname secp256r1 \
            -dname "CN=Trusted $name" -validity 36500
        keytool -keystore "$work/$name.$1" -storepass changeit -exportcert -alias x -file "$work/$name.crt"
        $k -importcert -alias "trusted-$name" -file "$work/$name.crt"
    done
}
make jks jks
make jceks jceks
make p12 pkcs12
