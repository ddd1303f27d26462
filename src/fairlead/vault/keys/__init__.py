"""Keys: who wraps the key of a version, and how it is bound to what it opens.

`port` is what the rest of the vault knows: a `KeyService` wraps and unwraps
32-byte keys under a context. `envelope` puts one data key and its recipients
together. The services: `local` (a file), `pkcs11` (an HSM), `transit`
(HashiCorp Vault, OpenBao), `aws_kms`, `gcp_kms`, `azure`; `recovery` is the
offline recipient. `opened` builds them from the configuration.
"""
