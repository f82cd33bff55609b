package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

const (
	sumsFile      = "SHA256SUMS"
	signatureFile = sumsFile + ".sig"           // in DER, the form that openssl reads
	bundleFile    = sumsFile + ".sigstore.json" // the form that cosign reads
)

// bundleType is the media type of a sigstore bundle. Ours has no entry of a transparency
// log.
const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// signingKey reads an unencrypted key on P-256 from a PEM file, in the form of PKCS #8 or
// SEC 1. It is the kind of key that cosign makes by default. The file may be a pipe, so
// an encrypted key need not be on a disk without its encryption.
func signingKey(path string) (*ecdsa.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the signing key can't be read: %w", err)
	}
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, fmt.Errorf("%s has no private key that openssl writes: make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`", path)
		}
		text = rest
		var parsed any
		switch block.Type {
		case "EC PARAMETERS": // openssl ecparam writes them before the key
			continue
		case "PRIVATE KEY":
			parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			parsed, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			return nil, fmt.Errorf("%s holds %q: give the key unencrypted, such as by a pipe: openssl pkey -in KEY | RELEASE_KEY=/dev/stdin make release", path, block.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		key, ok := parsed.(*ecdsa.PrivateKey)
		if !ok || key.Curve != elliptic.P256() {
			return nil, fmt.Errorf("%s is no key on P-256, which every version of cosign and openssl verifies: make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`", path)
		}
		return key, nil
	}
}

// sign signs the checksums, which cover all other files, and writes the signature in two
// forms. The signature is deterministic (RFC 6979), so a release that is made again has
// the same signature too.
func sign(folder string, key *ecdsa.PrivateKey) error {
	sums, err := os.ReadFile(filepath.Join(folder, sumsFile))
	if err != nil {
		return err
	}
	digest := sha256.Sum256(sums)
	signature, err := key.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		return fmt.Errorf("the checksums can't be signed: %w", err)
	}
	if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
		return errors.New("the signature of the checksums does not verify: is the key damaged?")
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	fingerprint := sha256.Sum256(public) // cosign identifies a key by it
	// Byte slices become base64 in JSON, as the format requires.
	bundle, err := json.MarshalIndent(map[string]any{
		"mediaType":            bundleType,
		"verificationMaterial": map[string]any{"publicKey": map[string]any{"hint": fingerprint[:]}},
		"messageSignature": map[string]any{
			"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": digest[:]},
			"signature":     signature,
		},
	}, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, signatureFile), signature, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, bundleFile), append(bundle, '\n'), 0o644)
}
