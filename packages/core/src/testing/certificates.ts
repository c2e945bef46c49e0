// Self-signed certificates that expire in a hundred years, for tests of HTTPS only.

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

/** For the host name `localhost`. */
export const localCertificate: TestCertificate = {
  name: 'localhost',
  cert: `-----BEGIN CERTIFICATE-----
MIIBljCCATugAwIBAgIUZ/SZ8tLyjXzASfvvTJiNpjswU6QwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMTEyNDIyNFoYDzIxMjYxMDI4
MTI0MjI0WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAARJHRFFwqfxPwrg1IBv87rsS6YM8nFqIMmhOUP3xXzw+f2hjn+bLZQd
MTZqFlprjmwpUw1/XhjeoaHVMKKqp9ayo2kwZzAdBgNVHQ4EFgQUgInlCWSwEuxN
gTjEnaz9vyGosdAwHwYDVR0jBBgwFoAUgInlCWSwEuxNgTjEnaz9vyGosdAwDwYD
VR0TAQH/BAUwAwEB/zAUBgNVHREEDTALgglsb2NhbGhvc3QwCgYIKoZIzj0EAwID
SQAwRgIhAPh3K/54b71PqJOEamNx6xjwrstT/qE8Yi3NkAWEsuSTAiEAieVZuNmO
8clEI7EhRlfyv0IyQ3T65IsOQPcy6J18ayk=
-----END CERTIFICATE-----
`,
  key: `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0GiKL/oBhrV3Jvnn
Uvr8iv0HzCswRWml7w7QjQbmXjGhRANCAARJHRFFwqfxPwrg1IBv87rsS6YM8nFq
IMmhOUP3xXzw+f2hjn+bLZQdMTZqFlprjmwpUw1/XhjeoaHVMKKqp9ay
-----END PRIVATE KEY-----
`,
}
