import com.nimbusds.jose.JWSAlgorithm;
import com.nimbusds.jose.jwk.RSAKey;
import com.nimbusds.oauth2.sdk.*;
import com.nimbusds.oauth2.sdk.auth.PrivateKeyJWT;
import com.nimbusds.oauth2.sdk.http.HTTPRequest;
import com.nimbusds.oauth2.sdk.id.*;
import com.nimbusds.oauth2.sdk.pkce.*;
import com.nimbusds.oauth2.sdk.token.*;
import com.nimbusds.openid.connect.sdk.*;
import com.nimbusds.openid.connect.sdk.op.OIDCProviderMetadata;
import com.nimbusds.openid.connect.sdk.validators.IDTokenValidator;
import java.net.URI;
import java.net.URL;
import java.util.Scanner;

/** Nimbus as it comes, on Java's own HTTP client, which prefers HTML. Says each step on a line. */
public class WithNimbus {
  static PrivateKeyJWT proof(OIDCProviderMetadata server, String client, RSAKey key) throws Exception {
    return new PrivateKeyJWT(
        new ClientID(client), server.getTokenEndpointURI(), JWSAlgorithm.RS256, key.toPrivateKey(), null, null);
  }

  static TokenResponse token(OIDCProviderMetadata server, String client, RSAKey key, AuthorizationGrant grant)
      throws Exception {
    var request = new TokenRequest(server.getTokenEndpointURI(), proof(server, client, key), grant, null);
    return OIDCTokenResponseParser.parse(request.toHTTPRequest().send());
  }

  static int retrieve(String api, AccessToken token) throws Exception {
    var request = new HTTPRequest(HTTPRequest.Method.POST, new URL(api + "/retrieve"));
    request.setAuthorization(token.toAuthorizationHeader());
    request.setContentType("application/json");
    request.setBody("{\"query\":\"travel budget\"}");
    return request.send().getStatusCode();
  }

  public static void main(String[] asked) throws Exception {
    String api = asked[0], client = asked[1];
    var callback = new URI(asked[2]);
    var key = RSAKey.parse(asked[3]);
    var server = OIDCProviderMetadata.resolve(new Issuer(api + "/oauth"));
    var verifier = new CodeVerifier();
    var state = new State();
    var nonce = new Nonce();
    var request =
        new AuthenticationRequest.Builder(
                new ResponseType("code"), new Scope("openid", "docs.search"), new ClientID(client), callback)
            .state(state)
            .nonce(nonce)
            .codeChallenge(verifier, CodeChallengeMethod.S256)
            .resource(new URI(api))
            .build();
    var pushed =
        PushedAuthorizationResponse.parse(
            new PushedAuthorizationRequest(
                    server.getPushedAuthorizationRequestEndpointURI(), proof(server, client, key), request)
                .toHTTPRequest()
                .send());
    var page =
        new AuthorizationRequest.Builder(pushed.toSuccessResponse().getRequestURI(), new ClientID(client))
            .endpointURI(server.getAuthorizationEndpointURI())
            .build();
    System.out.println(page.toURI());
    var back = AuthenticationResponseParser.parse(new URI(new Scanner(System.in).nextLine())).toSuccessResponse();
    if (!back.getState().equals(state) || !back.getIssuer().equals(server.getIssuer())) throw new Exception("mixed up");
    var code = new AuthorizationCodeGrant(back.getAuthorizationCode(), callback, verifier);
    var tokens = ((OIDCTokenResponse) token(server, client, key, code)).getOIDCTokens();
    var validator =
        new IDTokenValidator(
            server.getIssuer(), new ClientID(client), JWSAlgorithm.RS256, server.getJWKSetURI().toURL());
    System.out.println("signed in: " + validator.validate(tokens.getIDToken(), nonce).getSubject());
    var access = tokens.getAccessToken();
    System.out.println("scope: " + access.getScope());
    System.out.println("found: " + retrieve(api, access));
    var introspected =
        TokenIntrospectionResponse.parse(
            new TokenIntrospectionRequest(server.getIntrospectionEndpointURI(), proof(server, client, key), access)
                .toHTTPRequest()
                .send());
    System.out.println("active: " + introspected.toSuccessResponse().isActive());
    var ended =
        new TokenRevocationRequest(server.getRevocationEndpointURI(), proof(server, client, key), access)
            .toHTTPRequest()
            .send();
    System.out.println("revoked: " + ended.getStatusCode() + ", found: " + retrieve(api, access));
    var again = token(server, client, key, code);
    System.out.println("again: " + again.toErrorResponse().getErrorObject().getCode());
  }
}
