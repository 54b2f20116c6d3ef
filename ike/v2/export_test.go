package v2

// The functions of RFC 2759 and RFC 3079, for their published vectors.
var (
	ChallengeHash         = challengeHash
	NTPasswordHash        = ntPasswordHash
	ChallengeResponse     = challengeResponse
	AuthenticatorResponse = authenticatorResponse
	ChapMSK               = chapMSK
	MD4                   = md4Sum
)
