// Two self-signed certificates that expire in a hundred years, for tests of HTTPS only.

export interface TestCertificate {
  /** The common name. */
  name: string
  cert: string
  key: string
}

export const firstCertificate: TestCertificate = {
  name: 'one.test',
  cert: `-----BEGIN CERTIFICATE-----
MIIBfjCCASOgAwIBAgIUZGdfJ1oW+tZxnizLlxYnUkJgzeMwCgYIKoZIzj0EAwIw
EzERMA8GA1UEAwwIb25lLnRlc3QwIBcNMjYxMTIxMDg0NzAyWhgPMjEyNjEwMjgw
ODQ3MDJaMBMxETAPBgNVBAMMCG9uZS50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAE9f//g2Ht8ZEKwMDEcAqZyFA7ukM9IeXu8G/Pin2ucCgOfKS7iAqZqlbA
B1gsGWwxs0mlpheHqjlsc/LSKRhB1qNTMFEwHQYDVR0OBBYEFFObSAvZ2vkykm3w
XByJkzpmAFnzMB8GA1UdIwQYMBaAFFObSAvZ2vkykm3wXByJkzpmAFnzMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAP32+jjSF/yvoEBEJnXrkpH/
iJ4iUhlN+cAfzqOYik6IAiEA8/7wBKKqk05AXHmb1jyerhI67kP2Gu18mVImYoYI
xBA=
-----END CERTIFICATE-----
`,
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgusc/qCnM73q3yatS
lAm1+px0vikrobJiPTRlwGt3/YShRANCAAT1//+DYe3xkQrAwMRwCpnIUDu6Qz0h
5e7wb8+Kfa5wKA58pLuICpmqVsAHWCwZbDGzSaWmF4eqOWxz8tIpGEHW
-----END PRIVATE KEY-----
`,
}

export const secondCertificate: TestCertificate = {
  name: 'two.test',
  cert: `-----BEGIN CERTIFICATE-----
MIIBfTCCASOgAwIBAgIURzD6wFx3jc5GuZ6L5rLJPW8MA/swCgYIKoZIzj0EAwIw
EzERMA8GA1UEAwwIdHdvLnRlc3QwIBcNMjYxMTIxMDg0NzAyWhgPMjEyNjEwMjgw
ODQ3MDJaMBMxETAPBgNVBAMMCHR3by50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEoHxruf308/G6Gs2bDAx2yyFBtBGOaN1d65euuv1R1Il2D3W9B4ZgwpMW
rKlMl0rJJlUXnxY0uXeP1Ph8GjWe/6NTMFEwHQYDVR0OBBYEFD57hyi5D7vVIeBv
+/+VcMytwNuIMB8GA1UdIwQYMBaAFD57hyi5D7vVIeBv+/+VcMytwNuIMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAMyUQdKmQOAaeXBss1PDAf/C
HPRbVu9spTW0ulN8NeWVAiAuV50Xu0VeO6Q63rznN8kzAvthC1KD2tim6cgN8Ygc
pg==
-----END CERTIFICATE-----
`,
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgWkj9AUuNUvxeB4fJ
pPV/Ucm07Tii4p2zxSr8BjTwCxOhRANCAASgfGu5/fTz8boazZsMDHbLIUG0EY5o
3V3rl666/VHUiXYPdb0HhmDCkxasqUyXSskmVRefFjS5d4/U+HwaNZ7/
-----END PRIVATE KEY-----
`,
}
