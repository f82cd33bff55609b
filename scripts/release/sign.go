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
	signatureFile = sumsFile + ".sig"           // DER, as openssl reads it
	bundleFile    = sumsFile + ".sigstore.json" // as cosign reads it
)

// bundleType is the form of a sigstore bundle, without a transparency log.
const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"

// signingKey reads an unencrypted key on P-256 from a PEM file, in the form of PKCS #8 or
// SEC 1. It is the kind of key that cosign makes by default. A pipe is a file too, so that
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

// sign writes two forms of one signature of the checksums, which stand for all other
// files. It is a deterministic one (RFC 6979): a release that is made again has the same
// bytes here too.
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
	fingerprint := sha256.Sum256(public) // by which cosign names a key
	// Slices of bytes become base64, as the form has them.
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
