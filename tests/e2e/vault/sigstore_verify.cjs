// Verify a bundle with @sigstore/verify and a public key in PEM, offline: `node sigstore_verify.cjs TOOLS BUNDLE KEY`.
// Prints the payload of a bundle that verifies; exits with 1 and the error's code for one that does not.
'use strict';
const { createRequire } = require('node:module');
const { createPublicKey } = require('node:crypto');
const { readFileSync } = require('node:fs');
const [tools, bundlePath, keyPath] = process.argv.slice(2);
const fromTools = createRequire(`${tools}/package.json`);
const { bundleFromJSON } = fromTools('@sigstore/bundle');
const { toSignedEntity, toTrustMaterial, Verifier } = fromTools('@sigstore/verify');

const nothing = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
const key = { publicKey: createPublicKey(readFileSync(keyPath)), validFor: () => true };
const none = { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: 0 };
try {
  const bundle = bundleFromJSON(JSON.parse(readFileSync(bundlePath, 'utf8')));
  new Verifier(toTrustMaterial(nothing, () => key), none).verify(toSignedEntity(bundle));
  process.stdout.write(bundle.content.dsseEnvelope.payload);
} catch (error) {
  process.stderr.write(`${error.code}: ${error.message}\n`);
  process.exit(1);
}
