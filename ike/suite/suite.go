package suite

// Proposal is one cryptographic suite.
type Proposal struct{}
